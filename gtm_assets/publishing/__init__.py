"""What people read: the published file, and the warehouse as of an earlier day."""
