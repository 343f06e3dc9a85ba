"""What is measured of a registration, and how it is shown: metrics, measures, tables, pictures."""
