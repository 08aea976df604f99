#!/bin/sh
# Prints Prometheus's rule files as objects of its operator:
#
#   deploy/kubernetes/rules.sh deploy/prometheus/rules/*.yml | kubectl apply -f -
set -eu
for file; do
    cat <<END
---
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: rt-audio-$(basename "$file" .yml)
  namespace: rt-audio
  labels:
    app.kubernetes.io/name: rt-audio
spec:
END
    sed 's/^/  /' "$file"
done
