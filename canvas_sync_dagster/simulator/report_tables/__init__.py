"""What each report lists of a university."""
