# Images are named by their full version; `make pin` adds their digests.
FROM golang:1.26.8-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o /api ./cmd/api

# The binary needs only CA certificates, for TLS. It needs no time zones, because
# every time that it prints or reads has its own offset.
FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /api /api
# A number, because there is no /etc/passwd. Kubernetes can check runAsNonRoot with it.
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/api"]
