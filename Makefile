# make run   builds the whole warehouse from nothing      make test   lint and the tests of every change
# make dev   opens the UI                                 make help   all targets
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
# What imports little and builds nothing: about 15 seconds together.
QUICK = test_catalog test_coerce test_dagster_internals test_errors test_layout test_partitions test_settings
PYTEST = $(BIN)/python -m pytest --numprocesses 2 --dist loadscope --no-loadscope-reorder --durations 20

.DEFAULT_GOAL := help
.PHONY: help setup setup-postgres setup-s3 setup-s3-tests setup-spark setup-mcp setup-dashboards setup-readers run dev serve dashboards check test test-all lint types format sources docs bench lock clean

help: ## This list.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/'

setup: .venv/.installed ## Virtual environment with the pinned packages.

# uv installs in seconds and compiles; where it can't reach an index, pip with the user's own settings does.
.venv/.installed: requirements.lock setup.cfg
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^uv==' requirements.lock)"
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --compile-bytecode requirements.lock \
		|| $(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# The extra of the warehouse on PostgreSQL, beside what is installed.
setup-postgres: .venv/.installed-postgres ## What GTM_ENGINE=postgres needs: dbt-postgres and a driver.

.venv/.installed-postgres: .venv/.installed requirements-postgres.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --requirement requirements-postgres.lock \
		|| $(BIN)/python -m pip install --quiet --requirement requirements-postgres.lock
	@touch $@

# The extra of a lake in a bucket.
setup-s3: .venv/.installed-s3 ## What GTM_LAKE_URL=s3://... needs: s3fs.

.venv/.installed-s3: .venv/.installed requirements-s3.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --requirement requirements-s3.lock \
		|| $(BIN)/python -m pip install --quiet --requirement requirements-s3.lock
	@touch $@

setup-s3-tests: .venv/.installed-s3-tests ## What the tests of a lake in a bucket need beside it: moto, a store of their own.

.venv/.installed-s3-tests: .venv/.installed-s3 requirements-s3-tests.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --requirement requirements-s3-tests.lock \
		|| $(BIN)/python -m pip install --quiet --requirement requirements-s3-tests.lock
	@touch $@

# The extra of Iceberg tables on Spark, and the jars that Spark fetches, which lie in the state folder.
setup-spark: .venv/.installed-spark ## What GTM_ENGINE=spark needs: dbt-spark, PyIceberg and the jars; Java 17 must be there.

.venv/.installed-spark: .venv/.installed requirements-spark.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --requirement requirements-spark.lock \
		|| $(BIN)/python -m pip install --quiet --requirement requirements-spark.lock
	$(BIN)/python -m gtm_assets.engines.spark_jars
	@touch $@

# The extra of the server by which agents ask metrics.
setup-mcp: .venv/.installed-mcp ## What gtm mcp needs: the SDK of the Model Context Protocol.

.venv/.installed-mcp: .venv/.installed requirements-mcp.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --requirement requirements-mcp.lock \
		|| $(BIN)/python -m pip install --quiet --requirement requirements-mcp.lock
	@touch $@

# Superset, which can't share the project's environment, in one of its own.
setup-dashboards: dashboards/.venv/.installed ## What make dashboards needs: Apache Superset, in an environment of its own.

dashboards/.venv/.installed: .venv/.installed dashboards/requirements.lock
	$(PYTHON) -m venv dashboards/.venv
	$(BIN)/uv pip sync --quiet --python dashboards/.venv/bin/python --compile-bytecode dashboards/requirements.lock \
		|| dashboards/.venv/bin/python -m pip install --quiet --requirement dashboards/requirements.lock
	@touch $@

# What reads the published Iceberg tables, for tests of it: Trino, and servers of catalogues.
setup-readers: .venv/.installed-readers ## What tests of Iceberg's readers need; Maven, and for Trino Java 25, must be there.

.venv/.installed-readers: .venv/.installed-spark requirements-readers.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --requirement requirements-readers.lock \
		|| $(BIN)/python -m pip install --quiet --requirement requirements-readers.lock
	$(BIN)/python -m gtm_assets_tests.rest_catalog
	$(BIN)/python -m gtm_assets_tests.trino_server
	@touch $@

run: setup ## Land, build, prove and publish; says where to look.
	$(BIN)/gtm run

serve: setup-postgres ## A PostgreSQL server of your own, with what is published, until Ctrl-C.
	$(BIN)/gtm serve

dashboards: setup setup-dashboards ## Dashboards of what is published, until Ctrl-C; PORT=8089 takes another port.
	$(BIN)/gtm dashboards $(if $(PORT),--port $(PORT))

dev: setup ## The Dagster UI with its daemon; make dev PORT=3001 takes another port.
	$(BIN)/gtm dev $(if $(PORT),--port $(PORT))

check: setup types ## Before a push, in less than a minute: ruff, mypy and the quickest tests.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest --quiet $(QUICK:%=gtm_assets_tests/%.py)

test: setup lint ## Lint and the tests of every change; at most 12 minutes on two cores.
	$(PYTEST) -m "not nightly"

test-all: setup lint ## Lint and all tests, the long ones too; half an hour on two cores.
	HYPOTHESIS_PROFILE=all $(PYTEST) --cov --cov-report term:skip-covered

types: setup ## mypy, strict for the package.
	$(BIN)/mypy

lint: setup types ## ruff, mypy and sqlfluff.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/sqlfluff lint --processes 2 gtm_dbt/models gtm_dbt/tests

format: setup ## Let ruff format the code.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

sources: setup ## Write the dbt source files from the catalogue.
	$(BIN)/python -m gtm_assets.sources.dbt_sources

docs: setup ## Write what the code knows into README.md, docs/settings.md and the index of docs/decisions.md.
	$(BIN)/python -m gtm_assets.cli.readme

bench: setup ## What the platform costs, beside bare SQL, dbt and Polars; about an hour.
	$(BIN)/python benchmarks/bulk_landing.py
	$(BIN)/python -m benchmarks.warehouse

lock: setup ## Resolve the lock files anew from setup.cfg.
	$(BIN)/uv pip compile --quiet --no-emit-index-url --python-version 3.11 --universal --extra dev setup.cfg \
		--output-file requirements.lock
	$(BIN)/uv pip compile --quiet --no-emit-index-url --python-version 3.11 --universal --extra postgres setup.cfg \
		--constraint requirements.lock --output-file requirements-postgres.lock
	$(BIN)/uv pip compile --quiet --no-emit-index-url --python-version 3.11 --universal --extra s3 setup.cfg \
		--constraint requirements.lock --output-file requirements-s3.lock
	$(BIN)/uv pip compile --quiet --no-emit-index-url --python-version 3.11 --universal --extra s3 --extra s3-tests \
		setup.cfg --constraint requirements.lock --constraint requirements-s3.lock --output-file requirements-s3-tests.lock
	$(BIN)/uv pip compile --quiet --no-emit-index-url --python-version 3.11 --universal --extra spark setup.cfg \
		--constraint requirements.lock --output-file requirements-spark.lock
	$(BIN)/uv pip compile --quiet --no-emit-index-url --python-version 3.11 --universal --extra readers setup.cfg \
		--constraint requirements.lock --constraint requirements-spark.lock --output-file requirements-readers.lock
	$(BIN)/uv pip compile --quiet --no-emit-index-url --python-version 3.11 --universal --extra mcp setup.cfg \
		--constraint requirements.lock --output-file requirements-mcp.lock
	cd dashboards && ../$(BIN)/uv pip compile --quiet --no-emit-index-url --python-version 3.11 --universal \
		requirements.in --output-file requirements.lock

clean: ## Remove the state folder's default and what dbt wrote. The lake goes too.
	rm -rf .gtm gtm_dbt/target gtm_dbt/logs
