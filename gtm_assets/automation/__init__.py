"""What runs, and when: jobs now; schedules, sensors and alerts build on them."""
