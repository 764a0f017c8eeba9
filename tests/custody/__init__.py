"""What custody is tested with: bits flipped where batches are kept."""
