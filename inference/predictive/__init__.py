"""What a fitted pair gives: codes, reconstructions, samples, and how much samples resemble data."""
