#!/usr/bin/env bash
# Packs what spark-submit ships to the executors of a cluster, into build/:
#
#   specrec-env.tar.gz   the dependencies: large, changes only when they do    --archives ...#environment
#   specrec.zip          the package itself: small, made anew every time       --py-files
#
#   deploy/pack.sh
#   spark-submit --master spark://... \
#     --archives build/specrec-env.tar.gz#environment --py-files build/specrec.zip \
#     --conf spark.pyspark.python=./environment/bin/python --conf spark.pyspark.driver.python=.venv/bin/python \
#     jobs/nightly.py ...
#
# The environment gets the versions that the driver has ($PYTHON, by default .venv/bin/python), so that both sides
# of a pickle agree. It holds no interpreter: every worker needs the same Python, at the path it has here or at
# $WORKER_PYTHON. It holds no Spark either: an executor imports pyspark from the Spark of its worker.
#
# Why tar and not venv-pack: all that venv-pack adds is to rewrite `activate` and the scripts in bin/, which executors
# never run; a venv's bin/python finds its packages by where it lies, so it may be moved as it is.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHON=${PYTHON:-.venv/bin/python}
WORKER_PYTHON=${WORKER_PYTHON:-$("$PYTHON" -c 'import sys; print(sys._base_executable)')}
DRIVER_ONLY="pyspark delta-spark deltalake" # and what only these need
ENVIRONMENT=build/specrec-env.tar.gz
PACKAGE=build/specrec.zip

mkdir -p build
if command -v flock >/dev/null; then # one at a time; macOS has no flock, and packs by hand
  exec 9>build/pack.lock
  flock 9
fi
sha256() { "$PYTHON" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())'; }

# --- the dependencies -------------------------------------------------------------------------------------------------

requirements=$("$PYTHON" - $DRIVER_ONLY <<'END'
import re, sys, tomllib
for requirement in tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"]:
    if re.match(r"[\w.-]+", requirement)[0].lower() not in sys.argv[1:]:
        print(requirement)
END
)
driver_versions=$("$PYTHON" -m pip freeze --exclude-editable | LC_ALL=C sort)
wanted=$({ echo "$requirements" "$WORKER_PYTHON"; "$PYTHON" --version; cat deploy/pack.sh; } | sha256)

is_current() {
  [[ -f $ENVIRONMENT && -f build/env.stamp && -f build/env.versions && $(<build/env.stamp) == "$wanted" ]] &&
    [[ -z $(LC_ALL=C comm -13 <(echo "$driver_versions") build/env.versions) ]]
}

if is_current; then
  echo "$ENVIRONMENT: up to date"
else
  started=$SECONDS
  rm -rf build/env build/env.stamp
  "$PYTHON" -m venv --without-pip build/env
  echo "$driver_versions" >build/constraints.txt
  pip() { "$PYTHON" -m pip --python build/env/bin/python --disable-pip-version-check "$@"; }
  echo "$requirements" | pip install --quiet --constraint build/constraints.txt --requirement /dev/stdin
  # specrec's modules may import delta's small Python part; its Spark is the worker's
  pip install --quiet --no-deps --constraint build/constraints.txt delta-spark
  pip freeze | LC_ALL=C sort >build/env.versions
  ln -sfn "$WORKER_PYTHON" "build/env/bin/$(readlink build/env/bin/python)"
  sed "s|^home = .*|home = $(dirname "$WORKER_PYTHON")|" build/env/pyvenv.cfg >build/pyvenv.cfg
  mv build/pyvenv.cfg build/env/pyvenv.cfg
  installed=$SECONDS
  # Byte code stays: without it every executor would compile librosa, SciPy and scikit-learn before its first task.
  # So do *.pyi: librosa reads its own to import lazily.
  tar -C build/env --exclude=tests --exclude=./include --exclude=pyarrow/include --exclude='*.pyx' --exclude='*.pxd' \
    -cf - . | gzip -1 >"$ENVIRONMENT.part"
  mv "$ENVIRONMENT.part" "$ENVIRONMENT"
  rm -rf build/env
  echo "$wanted" >build/env.stamp
  echo "$ENVIRONMENT: $(du -h "$ENVIRONMENT" | cut -f1)," \
    "installed in $((installed - started)) s, packed in $((SECONDS - installed)) s"
fi

# --- the package ------------------------------------------------------------------------------------------------------

"$PYTHON" - "$PACKAGE" <<'END'
import os, sys, tomllib, zipfile
from pathlib import Path

project = tomllib.load(open("pyproject.toml", "rb"))["project"]
name, version, target = project["name"], project["version"], Path(sys.argv[1])
part = target.with_suffix(".part")
with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
    for path in sorted(Path(name).rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            archive.write(path)
    # for importlib.metadata.version("specrec")
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    archive.writestr(f"{name}-{version}.dist-info/METADATA", metadata)
os.replace(part, target)
END
echo "$PACKAGE: $(du -h "$PACKAGE" | cut -f1)"
