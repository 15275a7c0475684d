# The commands live in ./run, which also does their set-up; these are the names that fingers know.
.PHONY: check unit test e2e demo format clean
check unit test e2e demo clean:
	@case $@ in unit|e2e) ./run test $@ ;; *) ./run $@ ;; esac
format: .work/venv/bin/ruff
	.work/venv/bin/ruff format
	.work/venv/bin/ruff check --fix
.work/venv/bin/ruff:
	./run check
