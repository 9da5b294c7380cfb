"""Model packages: manifest, features, flavors, golden rows."""
