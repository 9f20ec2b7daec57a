"""What the platform knows of each raw table: names, columns, types and how it is read."""
