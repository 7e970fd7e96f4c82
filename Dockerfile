# Images stand by their full version; `make pin` adds their digests.
FROM golang:1.26.8-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o /api ./cmd/api

# The binary needs CA certificates for TLS, and nothing else: every time that it
# prints or reads has its own offset, so no time zones.
FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /api /api
# By number: there is no /etc/passwd, and Kubernetes checks runAsNonRoot without one.
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/api"]
