"""Records of deployments: what registered specs cannot hold, as JSON in the store of the bundles."""
