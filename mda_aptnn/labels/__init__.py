"""Snapshots to labels, through CP2K: plan a campaign, run it anywhere, collect what can be trusted."""
