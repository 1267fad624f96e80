"""OpenLineage events as this package reads them."""
