"""Pools of warm containers, each for another kind of work."""

from datetime import timedelta

import flyte

IMAGE = "ghcr.io/flyteorg/flyte:py3.13-v2.12.1"

words_env = flyte.TaskEnvironment(
    name="review_words",
    image=IMAGE,
    resources=flyte.Resources(cpu=1, memory="512Mi"),
    reusable=flyte.ReusePolicy(replicas=2, concurrency=8),
    description="Two containers that are always there, with eight short tasks at a time in each.",
)

model_env = flyte.TaskEnvironment(
    name="review_model",
    image=IMAGE,
    resources=flyte.Resources(cpu=2, memory="2Gi"),
    env_vars={"OMP_NUM_THREADS": "2"},
    reusable=flyte.ReusePolicy(
        replicas=(1, 6),
        concurrency=2,
        idle_ttl=timedelta(minutes=10),
        scaledown_ttl=timedelta(minutes=2),
    ),
    description="One to six containers that keep the model in memory for ten minutes.",
)

scratch_env = words_env.clone_with(
    "review_scratch",
    reusable=flyte.ReusePolicy(replicas=(2, 4), idle_ttl=60, scope="run"),
    description="Containers of one run only, for work that leaves something behind.",
)
