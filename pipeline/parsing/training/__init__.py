"""How the embedded model is trained; `pipeline/parsing/model/README.md` has the run lines."""
