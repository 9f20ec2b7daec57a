"""What a number is made of, down to the records in the lake, and how far it can be trusted."""
