# The image holds the program, the certificates that IRC and HTTPS need, and nothing else.
#
#   docker build -t lockbridge .
#   docker run --rm -v /srv/lockbridge:/data lockbridge init
#   docker run -v /srv/lockbridge:/data -p 127.0.0.1:8080:8080 lockbridge
#
# Everything lives in /data: lockbridge.toml, the key, the SQLite file, the registration. It must belong to uid 65532.
# In a container "127.0.0.1" is the container itself: listen on 0.0.0.0 there.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -tags goolm -trimpath -ldflags '-s -w' -o /lockbridge ./cmd/lockbridge \
 && mkdir -m 0700 /data

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /lockbridge /lockbridge
COPY --from=build --chown=65532:65532 /data /data
USER 65532:65532
WORKDIR /data
VOLUME /data
EXPOSE 8080 29330
STOPSIGNAL SIGTERM
ENTRYPOINT ["/lockbridge"]
CMD ["run"]
