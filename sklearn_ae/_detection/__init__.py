"""Parts of the outlier detector: members, their statistics, and the hashes that assign samples."""
