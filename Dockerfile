# The worker, the delivery and the command line; see docker-compose.yml.
FROM python:3.11-slim
RUN useradd --create-home anomaly && install -d -o anomaly -g anomaly /data
WORKDIR /home/anomaly/app
COPY pyproject.toml README.md ./
COPY anomaly_app anomaly_app
# Archives of the delivery are Parquet; models are asked, and made for docker-compose's profile payments.
RUN pip install --no-cache-dir '.[parquet,onnx,train]'
USER anomaly
# Away from the sources: what runs is what was installed.
WORKDIR /data
VOLUME /data
CMD ["faust", "-A", "anomaly_app", "worker", "-l", "info"]
