"""Files of the published data sets: where they are, what they hold, and how they are downloaded and checked."""
