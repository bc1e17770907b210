# headcount serve in a container:
#   docker build -t headcount . && docker run --rm -p 127.0.0.1:8000:8000 headcount
FROM python:3.12-slim
COPY pyproject.toml constraints.txt README.md LICENSE /src/
COPY headcount /src/headcount
RUN pip install --no-cache-dir -c /src/constraints.txt '/src[serve]' \
 && useradd --create-home --uid 1000 headcount \
 && install -d -o headcount /state
USER headcount
VOLUME /state
EXPOSE 8000
HEALTHCHECK --interval=30s --start-period=20s \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz', timeout=5)"]
# In a container 0.0.0.0 is the container's own network; -p says who reaches it. --allow-host: what browsers call it by.
ENTRYPOINT ["headcount", "serve", "--host", "0.0.0.0", "--state", "/state"]
CMD ["--allow-host", "localhost", "--allow-host", "127.0.0.1"]
