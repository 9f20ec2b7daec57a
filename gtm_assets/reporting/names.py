"""What the report is called, for those who need not make it."""

from __future__ import annotations

FIRST_PAGE = "index.html"
SENTENCE, PICTURE = "headline.txt", "headline.png"
"""Files of the folder for messages: the headline numbers, and bookings by month."""
