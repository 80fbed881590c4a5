"""Pictures of the study: the corruptions, their effect, and the scores."""
