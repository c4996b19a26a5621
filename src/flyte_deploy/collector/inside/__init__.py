"""The collector: the part of the deployer that runs in the project's own interpreter.

Contract. It is started as ``python -c BOOT FOLDER MODULE REQUEST_FD ANSWER_FD`` by
`flyte_deploy.collector.run`, where the module is ``main`` (``verify`` has a contract of its own), with
nothing importable but the standard library and what the project's interpreter has installed, `flyte` among
it. It reads one JSON document, the request (`main.Request` lists its fields), from ``REQUEST_FD`` up to its
end, and writes JSON documents, one a line, to ``ANSWER_FD``:

* ``{"event": "loading" | "loaded", "file": …, "failed": …}`` of each file as it goes, and
  ``{"event": "serializing"}`` when they are loaded,
* ``{"event": "missed", "missed": {name: "path:line"}}`` where files below the root asked for environment
  variables that they are not given (`withheld`), and
* one last document: ``{"answer": {…}}`` (decoded as `flyte_deploy.collector.message.Answer`), or
  ``{"failure": {…}}`` (`flyte_deploy.collector.message.Failure`) where it cannot go on.

It never raises towards the parent: whatever goes wrong travels as data. Nothing here imports anything from
outside the standard library at module level, and `flyte` is touched in `sdk.py`, `describe.py` and
`serialize.py` only. The same functions serve `flyte_deploy.deploy(*envs)` in the caller's own interpreter.

Everything that is not known while collecting stands as a placeholder in the requests; `PLACEHOLDERS` in
`sdk.py` names them, `flyte_deploy.specs.stamp` replaces them.
"""

PROTOCOL = 1
