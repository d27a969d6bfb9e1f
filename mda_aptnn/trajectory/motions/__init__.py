"""Velocities taken apart: rigid motion, internal coordinates, normal modes."""
