"""What a person asks before and beside the daemon: is everything in place (`check`), what would be captured (`tables`)."""
