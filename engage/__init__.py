"""The method: simulated dialogues, i×MCTS, preference pairs, alignment, evaluation. Knows nothing of prefect or mlflow."""
