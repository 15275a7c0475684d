# The commands live in ./run, which also does their set-up; these are the names that fingers know.
.PHONY: check test demo clean:
	./run $@
unit e2e:
	./run test $@
format: .work/venv/bin/ruff
	.work/venv/bin/ruff format
	.work/venv/bin/ruff check --fix
.work/venv/bin/ruff:
	./run check
