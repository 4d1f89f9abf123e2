"""The ground floor: the error tree and the base of all settings. Imports nothing of the house."""
