"""How the embedded model is trained; its card, `pipeline/parsing/model/README.md`, has the run lines."""
