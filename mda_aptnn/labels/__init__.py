"""Snapshots to labels: plan a campaign, run it anywhere, collect what can be trusted."""
