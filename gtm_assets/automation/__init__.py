"""What runs by itself: jobs, schedules, sensors, freshness, retries."""
