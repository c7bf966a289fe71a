"""The S3 server of the tests does what specrec relies on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from servers import S3Server


def test_objects_are_put_listed_read_and_deleted(s3: S3Server) -> None:
    print(f"S3 server: {s3.kind} at {s3.endpoint_url}")
    client, bucket = s3.client(), s3.create_bucket("objects")

    etag = client.put_object(Bucket=bucket, Key="a/b.txt", Body=b"sound")["ETag"]

    listed = client.list_objects_v2(Bucket=bucket, Prefix="a/")["Contents"]
    assert [(item["Key"], item["Size"], item["ETag"]) for item in listed] == [("a/b.txt", 5, etag)]
    assert client.get_object(Bucket=bucket, Key="a/b.txt")["Body"].read() == b"sound"
    client.delete_object(Bucket=bucket, Key="a/b.txt")
    assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_a_key_is_created_only_once(s3: S3Server) -> None:
    client, bucket = s3.client(), s3.create_bucket("conditional")
    client.put_object(Bucket=bucket, Key="lock", Body=b"first", IfNoneMatch="*")

    with pytest.raises(ClientError) as refused:
        client.put_object(Bucket=bucket, Key="lock", Body=b"second", IfNoneMatch="*")

    assert refused.value.response["Error"]["Code"] == "PreconditionFailed"
    assert client.get_object(Bucket=bucket, Key="lock")["Body"].read() == b"first"


def test_a_folder_is_uploaded_and_a_subprocess_finds_it(s3: S3Server, tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "one.wav").write_bytes(b"1")
    (tmp_path / "two.wav").write_bytes(b"2")
    bucket = s3.create_bucket("uploads")

    assert s3.upload_folder(tmp_path, bucket, "music") == ["music/clips/one.wav", "music/two.wav"]

    script = "import boto3; print(boto3.client('s3').list_objects_v2(Bucket='uploads')['KeyCount'])"
    found = subprocess.run(
        [sys.executable, "-c", script], env=s3.environment(), capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "2"


def test_a_killed_server_answers_no_more(tmp_path: Path) -> None:
    with S3Server(tmp_path) as server:
        client = server.client(retries={"total_max_attempts": 1})
        client.list_buckets()
        server.kill()
        with pytest.raises(EndpointConnectionError):
            client.list_buckets()
