"""Recipes: from one description of a task to a reranker that is trained, judged and saved."""
