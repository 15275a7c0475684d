"""Build checks: what is legal in a Dockerfile but probably not meant (reference §3.8), and some rules of our own.

A rule is a value (`rule.Rule`); a check is a function from what it looks at to findings; `table` says which check looks
at what; a `Linter` decides which findings count. BuildKit's names, texts and places are kept to the letter.
"""
