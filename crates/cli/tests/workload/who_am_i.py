"""Asks the API server as the pod's ServiceAccount who that is; says it, with the namespace and the pod of the token."""
import json, os, ssl, urllib.request
place = "/var/run/secrets/kubernetes.io/serviceaccount/"
read = lambda name: open(place + name).read()
question = json.dumps({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}).encode()
request = urllib.request.Request(
    "https://127.0.0.1:%s/apis/authentication.k8s.io/v1/selfsubjectreviews" % os.environ["PORT"], question,
    {"Authorization": "Bearer " + read("token"), "Content-Type": "application/json"})
answer = json.load(urllib.request.urlopen(request, context=ssl.create_default_context(cafile=place + "ca.crt")))
user = answer["status"]["userInfo"]
print(user["username"], read("namespace"), user["extra"]["authentication.kubernetes.io/pod-name"][0])
