"""One flexible classical water molecule in vacuum as an input of CP2K: a step takes some
milliseconds.
"""

DYNAMICS = """
&GLOBAL
  PROJECT md
  RUN_TYPE MD
  PRINT_LEVEL LOW
&END GLOBAL
&MOTION
  &MD
    ENSEMBLE NVE
    STEPS {steps}
    TIMESTEP 0.5
    TEMPERATURE {temperature}
    COMVEL_TOL 1.0E-8
  &END MD
  &PRINT
    &TRAJECTORY
      &EACH
        MD 1
      &END EACH
    &END TRAJECTORY
    &VELOCITIES
      &EACH
        MD 1
      &END EACH
    &END VELOCITIES
    &RESTART OFF
    &END RESTART
    &RESTART_HISTORY OFF
    &END RESTART_HISTORY
  &END PRINT
&END MOTION
"""

VIBRATIONS = """
&GLOBAL
  PROJECT water
  RUN_TYPE VIBRATIONAL_ANALYSIS
  PRINT_LEVEL LOW
&END GLOBAL
&VIBRATIONAL_ANALYSIS
  DX 0.005
&END VIBRATIONAL_ANALYSIS
"""

#: Harmonic bonds and angle, charges without a force inside of the molecule.
FORCES = """
&FORCE_EVAL
  METHOD FIST
  &MM
    &FORCEFIELD
      &SPLINE
        EMAX_SPLINE 10000
      &END SPLINE
      &BOND
        ATOMS O H
        KIND HARMONIC
        K [hartree*bohr^-2] 0.52
        R0 [angstrom] 0.9572
      &END BOND
      &BEND
        ATOMS H O H
        KIND HARMONIC
        K [hartree*rad^-2] 0.17
        THETA0 [deg] 104.52
      &END BEND
      &CHARGE
        ATOM O
        CHARGE -0.8
      &END CHARGE
      &CHARGE
        ATOM H
        CHARGE 0.4
      &END CHARGE
      &NONBONDED
        &LENNARD-JONES
          ATOMS O O
          EPSILON 0
          SIGMA 3.0
          RCUT 5.0
        &END LENNARD-JONES
        &LENNARD-JONES
          ATOMS O H
          EPSILON 0
          SIGMA 3.0
          RCUT 5.0
        &END LENNARD-JONES
        &LENNARD-JONES
          ATOMS H H
          EPSILON 0
          SIGMA 3.0
          RCUT 5.0
        &END LENNARD-JONES
      &END NONBONDED
    &END FORCEFIELD
    &POISSON
      PERIODIC NONE
      &EWALD
        EWALD_TYPE NONE
      &END EWALD
    &END POISSON
  &END MM
  &SUBSYS
    &CELL
      ABC 12 12 12
      PERIODIC NONE
    &END CELL
    &TOPOLOGY
      CONNECTIVITY GENERATE
      &GENERATE
        BONDPARM_FACTOR 1.3
        BONDLENGTH_MIN [angstrom] 0.5
        CREATE_MOLECULES T
      &END GENERATE
    &END TOPOLOGY
    &COORD
      O 6.0000000000 6.0000000000 6.0000000000
      H 6.9572000000 6.0000000000 6.0000000000
      H 5.7600121000 6.9266272000 6.0000000000
    &END COORD
  &END SUBSYS
&END FORCE_EVAL
"""
