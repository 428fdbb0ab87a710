# The service in an image: production dependencies and src/, nothing else on top of the base.
#
#   docker build --build-arg REVISION="$(git rev-parse HEAD)" --tag gitops-status-server:0.1.0 .
#   docker run --read-only --cap-drop ALL --publish 8080:8080 --volume gitops-data:/data gitops-status-server:0.1.0
FROM node:26-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund
COPY LICENSE ./
COPY src src
# Node strips the types of each .ts file when it loads it, and the stripper then stays in memory, once in each thread.
# A full compile cache makes that step unnecessary. Its entries belong to a user id, so the user that runs the service fills
# it: the service starts, takes a report, answers every route, and stops. An image that could not would not be built.
RUN mkdir compile-cache && chown 10001:10001 compile-cache
USER 10001:10001
RUN NODE_COMPILE_CACHE=/app/compile-cache DATA_DIR=/tmp/data HOST=127.0.0.1 PORT=0 node --eval ' \
      const service = require("node:child_process").spawn("node", ["--import", "./src/early-signals.ts", "src/main.ts"], { stdio: ["ignore", "pipe", "inherit"] }); \
      service.on("exit", (code) => process.exit(code ?? 1)); \
      service.stdout.on("data", async (text) => { \
        const [url] = /http:[^"\s]+/.exec(text) ?? []; \
        if (url === undefined) return; \
        const report = { repo: "r", server: "s", sync_status: "SYNCED", drift_count: 0, files: [], last_check: new Date() }; \
        const headers = { "content-type": "application/json" }; \
        const answer = await fetch(url + "/api/status", { method: "POST", headers, body: JSON.stringify(report) }); \
        if (answer.status !== 201) throw new Error(await answer.text()); \
        const { paths } = await (await fetch(url + "/openapi.json")).json(); \
        for (const path of Object.keys(paths)) await fetch(url + path.replace("{repo_name}", "r").replace("{server_name}", "s")); \
        service.kill(); \
      });' && \
    chmod -R a=rX compile-cache

FROM node:26-slim
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="gitops-status-server" \
      org.opencontainers.image.description="Shows whether what runs on servers outside Kubernetes still equals Git" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.base.name="docker.io/library/node:26-slim"
WORKDIR /app
COPY --from=build --chown=0:0 /app /app
RUN mkdir /data && chown 10001:10001 /data && chmod 0750 /data
ENV DATA_DIR=/data \
    PORT=8080 \
    NODE_COMPILE_CACHE=/app/compile-cache
VOLUME /data
EXPOSE 8080
USER 10001:10001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 CMD ["node", "--eval", "const tls = process.env.TLS_CERT_FILE ? 's' : ''; require('http' + tls).get({ host: process.env.HOST || '127.0.0.1', port: process.env.PORT || 8080, path: '/healthz', rejectUnauthorized: false, timeout: 4000 }, (answer) => process.exit(answer.statusCode === 200 ? 0 : 1)).on('error', () => process.exit(1))"]
ENTRYPOINT ["node", "--import", "./src/early-signals.ts", "src/main.ts"]
