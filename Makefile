# The commands live in ./run, which also does their set-up; these are the names that fingers know.
.PHONY: check test demo bench clean unit e2e goldens format

check test demo bench clean:
	./run $@

unit e2e:
	./run test $@

# Needs BuildKit: see tests/goldens/record.py, and for the frontend's answers grpcio too.
goldens:
	PYTHONPATH=tests python3 -m goldens.record
	PYTHONPATH=tests:src python3 -m goldens.frontend.record
	python3 tests/goldens/lint/record.py

format: .work/venv/bin/ruff
	.work/venv/bin/ruff format
	.work/venv/bin/ruff check --fix

.work/venv/bin/ruff:
	./run check
