#!/usr/bin/env bash
# A model of fraud, learnt once from payments that are generated: train.sh FOLDER-OF-THE-JOBS FILE.onnx
# RECORDS says how many payments (60,000 unless given).
set -euo pipefail
jobs=$1 model=$2
[ ! -e "$model" ] || { echo "$model is there already"; exit 0; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
anomaly generate payments --records "${RECORDS:-60000}" --start '2026-01-01 00:00:00' --output "$work"
anomaly query "$jobs/training.sql" --table transactions="$work/transactions.jsonl" \
  --table identities="$work/identities.jsonl" --set payments.truth="$work/truth.jsonl" --csv >"$work/training.csv"
# All columns but the number and the second of a payment, its time and the truth.
features=$(head -1 "$work/training.csv" | sed 's/^TransactionID,TransactionDT,//; s/,Timestamp,isFraud$//')
anomaly train gradient-boosting "$work/training.csv" --features "$features" --label isFraud --time Timestamp \
  --rate 0.02 --name fraud --output "$work/fraud.onnx"
mv "$work/fraud.onnx" "$model"
