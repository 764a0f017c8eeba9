"""What tests of accounts and audit share."""
