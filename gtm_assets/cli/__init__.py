"""The command gtm."""
