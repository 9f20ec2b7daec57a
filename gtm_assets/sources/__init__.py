"""Where records come from: one folder per source system."""
