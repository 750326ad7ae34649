"""A real server: its answers, its bounds, and that nothing that is sent ends it."""

from __future__ import annotations

import http.client
import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from solq_train.serve.app import PAGE


@pytest.mark.parametrize("path", sorted(PAGE))
def test_every_file_of_the_page_is_served_and_names_no_other_site(server, path):
    answer = server.get(path)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith(PAGE[path][1])
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    text = answer.body.decode().replace("http://www.w3.org/2000/svg", "")
    assert "http:" not in text
    assert "https:" not in text
    assert "style=" not in text
    assert "onclick=" not in text


def test_an_image_is_predicted_and_can_be_asked_about(server, image):
    answer = server.predict(image)
    assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
    found = answer.json
    assert len(found["objects"]) == 15
    path = f"/api/images/{found['id']}"
    cut = server.get(f"{path}/masks?coefficients=4").json
    assert len(cut["objects"]) == 15
    explained = server.get(f"{path}/explain?query=1").json
    assert len(explained["locations"]) == server.get("/api/model").json["layers"] == 2
    picture = server.get(f"{path}/picture")
    assert picture.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(picture.body)).size == (80, 60)


def test_malformed_images_are_refused_one_by_one_and_the_server_goes_on(server, malformed, image):
    for data in malformed.values():
        answer = server.predict(data)
        assert answer.status == 422
        assert answer.json["error"].startswith("image: ")
    assert server.predict(image).status == 200


def test_an_upload_that_is_too_long_is_refused_before_it_is_read(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.putrequest("POST", "/api/predict")
    connection.putheader("Content-Length", str(server.most_bytes + 1))
    connection.endheaders()  # and nothing after it
    response = connection.getresponse()
    assert response.status == 413
    assert b"at most 0.2 MB" in response.read()
    connection.close()


def test_an_upload_of_unknown_length_is_refused_once_it_is_too_long(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.putrequest("POST", "/api/predict")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    for _ in range(1 + server.most_bytes // 10_000):  # and no end of it
        connection.send(b"2710\r\n" + bytes(10_000) + b"\r\n")
    assert connection.getresponse().status == 413
    connection.close()


def test_an_upload_that_ends_early_gives_its_place_back(server, image):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.putrequest("POST", "/api/predict")
    connection.putheader("Content-Length", "1000")
    connection.endheaders(b"some")
    connection.close()
    assert server.predict(image).status == 200
    deadline = time.monotonic() + 10
    while server.worker.num_waiting > 0:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/api/images/none/masks?coefficients=3", 404, "no longer kept"),
        ("/api/images/none/explain?query=0", 404, "no longer kept"),
        ("/api/images/none/picture", 404, "no longer kept"),
        ("/api/images/ID/masks?coefficients=0", 400, "must be in 1..16, got 0"),
        ("/api/images/ID/masks?coefficients=17", 400, "must be in 1..16, got 17"),
        ("/api/images/ID/masks?coefficients=1e3", 400, "must be a whole number, got '1e3'"),
        ("/api/images/ID/masks?coefficients=-1", 400, "must be a whole number, got '-1'"),
        ("/api/images/ID/masks", 400, "coefficients must be a whole number, got ''"),
        ("/api/images/ID/explain?query=5", 400, "query must be in 0..4, got 5"),
        ("/api/images/ID/explain?query=" + "9" * 5000, 400, "query must be a whole number"),
        ("/nothing", 404, "Not Found"),
        ("/../cli.py", 404, "Not Found"),
        ("/api/predict", 405, "Method Not Allowed"),
    ],
)
def test_questions_that_cannot_be_answered_are_refused_in_words(
    server, image, path, status, message
):
    if "ID" in path:
        path = path.replace("ID", server.predict(image).json["id"])
    answer = server.get(path)
    assert answer.status == status
    assert message in answer.json["error"]


def test_other_sites_cannot_have_images_predicted(server, image):
    assert server.predict(image, Origin="http://evil.example").status == 403
    assert server.get("/", Host="evil.example").status == 403


def test_fifty_requests_at_once_are_all_answered(server, image, malformed):
    sent = [image if number % 2 else list(malformed.values())[number % 9] for number in range(50)]
    barrier = threading.Barrier(50)

    def send(data):
        barrier.wait()
        return server.predict(data)

    with ThreadPoolExecutor(50) as clients:
        answers = list(clients.map(send, sent))
    for data, answer in zip(sent, answers, strict=True):
        assert answer.status == (200 if data is image else 422)
    good = [answer.json for answer in answers if answer.status == 200]
    assert len({found["id"] for found in good}) == 25
    assert all(found["objects"] == good[0]["objects"] for found in good)
    assert len(server.inference._seen) == server.inference.most_kept
    assert server.get("/api/model").status == 200


def test_more_requests_than_may_wait_are_told_to_come_again(serving, image, monkeypatch):
    gate = threading.Event()
    with serving(most_waiting=2) as server, ThreadPoolExecutor(2) as clients:
        predict = server.inference.predict

        def predict_later(data):
            assert gate.wait(20)
            return predict(data)

        monkeypatch.setattr(server.inference, "predict", predict_later)
        waiting = [clients.submit(server.predict, image) for _ in range(2)]
        while server.worker.num_waiting < 2:
            time.sleep(0.01)
        refused = server.predict(image)
        assert (refused.status, refused.headers["retry-after"]) == (503, "2")
        assert "2 requests are waiting" in refused.json["error"]
        assert server.get("/api/model").status == 200  # the page itself is always there
        gate.set()
        assert [future.result().status for future in waiting] == [200, 200]
        assert server.predict(image).status == 200


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_failure_of_the_network_is_one_answer_and_not_the_end(server, image, monkeypatch):
    def fail(_data):
        msg = "out of memory"
        raise RuntimeError(msg)

    with monkeypatch.context() as patched:
        patched.setattr(server.inference, "predict", fail)
        answer = server.predict(image)
    assert (answer.status, answer.json["error"]) == (500, "the server failed: out of memory")
    assert server.predict(image).status == 200


def test_an_upload_that_takes_too_long_is_given_up(server, monkeypatch):
    monkeypatch.setattr("solq_train.serve.app.UPLOAD_SECONDS", 0.05)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.putrequest("POST", "/api/predict")
    connection.putheader("Content-Length", "1000")
    connection.endheaders(b"some")
    assert connection.getresponse().status == 408
    connection.close()
