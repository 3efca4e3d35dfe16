"""Drives a cluster with the Python client: create, list, watch, patch, delete, exec, dynamic client.

`python3 client.py KUBECONFIG`; prints `ok` at the end. The cluster must have a running pod `web`.
"""

import sys

from kubernetes import client, config, dynamic, watch
from kubernetes.client.rest import ApiException
from kubernetes.stream import stream


def objects(core):
    body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="python", labels={"by": "python"}), data={"a": "1"})
    made = core.create_namespaced_config_map("default", body)
    assert made.metadata.uid and made.metadata.creation_timestamp, made

    try:
        core.create_namespaced_config_map("default", body)
        raise AssertionError("a second one of the same name")
    except ApiException as refused:
        assert refused.status == 409, refused

    listed = core.list_namespaced_config_map("default", label_selector="by=python")
    assert [item.metadata.name for item in listed.items] == ["python"], listed

    events = watch.Watch()
    seen = []
    stop = {"field_selector": "metadata.name=python", "timeout_seconds": 20}
    for event in events.stream(core.list_namespaced_config_map, "default", **stop):
        seen.append(event["type"])
        if event["type"] == "ADDED":
            patched = core.patch_namespaced_config_map("python", "default", {"data": {"b": "2"}})
            assert patched.data == {"a": "1", "b": "2"}, patched
        elif event["type"] == "MODIFIED":
            assert event["object"].data["b"] == "2", event
            core.delete_namespaced_config_map("python", "default")
        elif event["type"] == "DELETED":
            events.stop()
    assert seen == ["ADDED", "MODIFIED", "DELETED"], seen

    try:
        core.read_namespaced_config_map("python", "default")
        raise AssertionError("it is gone")
    except ApiException as refused:
        assert refused.status == 404, refused


def sessions(core):
    def run(command, **options):
        wanted = {"command": command, "stderr": True, "stdin": False, "stdout": True, "tty": False, **options}
        return stream(core.connect_get_namespaced_pod_exec, "web", "default", **wanted)

    assert run(["sh", "-c", "echo out; echo err >&2"]) == "out\nerr\n"

    session = run(["sh", "-c", "read line; echo \"<$line>\"; exit 3"], stdin=True, _preload_content=False)
    session.write_stdin("hello\n")
    session.run_forever(timeout=20)
    assert session.read_stdout() == "<hello>\n", "what was written is read"
    assert session.returncode == 3, session.returncode

    # Of a refused session this client (36.0.3) reads no body, and then trips over that.
    refused = None
    try:
        stream(core.connect_get_namespaced_pod_exec, "nobody", "default", command=["ls"], stdout=True)
    except (ApiException, AttributeError) as error:
        refused = error.__context__ if isinstance(error, AttributeError) else error
    assert refused is not None and "404" in str(refused), refused


def anything(api):
    found = dynamic.DynamicClient(api)
    deployments = found.resources.get(api_version="apps/v1", kind="Deployment")
    spec = {
        "selector": {"matchLabels": {"app": "python"}},
        "replicas": 0,
        "template": {
            "metadata": {"labels": {"app": "python"}},
            "spec": {"containers": [{"name": "a", "image": "a:1"}]},
        },
    }
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "python"}, "spec": spec}
    made = deployments.create(body=body, namespace="default")
    assert made.spec.strategy.type == "RollingUpdate", "defaults are filled in"
    body["spec"]["paused"] = True
    applied = deployments.server_side_apply(
        body=body, namespace="default", field_manager="python", force_conflicts=True
    )
    assert applied.spec.paused is True, applied
    assert [item.metadata.name for item in deployments.get(namespace="default").items] == ["python"]
    deployments.delete(name="python", namespace="default")


def main():
    config.load_kube_config(sys.argv[1])
    core = client.CoreV1Api()
    assert client.VersionApi().get_code().minor == "36"
    objects(core)
    sessions(core)
    anything(client.ApiClient())
    print("ok")


main()
