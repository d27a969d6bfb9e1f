/* Energy and forces of a high-dimensional neural-network potential (Behler and Parrinello) with radial (2) and
   angular (3) symmetry functions and the cutoff function tanh^3(1 - r/rc), all with one cutoff, in a cubic cell.
   Atomic units. */
#include <math.h>
#include <string.h>
#define MAXN 512
#define MAXT 65536
#define MAXS 64
#define MAXW 64

typedef struct { int kind, e1, e2; double eta, rs, lambda, zeta, pref; } Sf;

static double nx[MAXN], ny[MAXN], nz[MAXN], na[MAXN], nr[MAXN], nf[MAXN], nh[MAXN];
static int ni[MAXN];
static double gr[MAXN], gx[MAXN], gy[MAXN], gz[MAXN];
static int tj[MAXT], tk[MAXT], tstart[4];
static double tc[MAXT], tcos[MAXT], tir[MAXT], tf[MAXT], th[MAXT], ts[MAXT], s0[MAXT], s1[MAXT], s2[MAXT], 
    te[4][MAXT];


/* types: 0 or 1; sf[t], n_sf[t]; mean, scale; weights: per type, layers concatenated (input-major), biases */
double energy(int n, const double *x, const int *type, double cell, double rc, const int *n_sf, const Sf *sf,
              const double *mean, const double *scale, int hidden, const double *weights, double *force)
{
    double total = 0;
    memset(force, 0, 3 * n * sizeof(double));
    for (int i = 0; i < n; i++) {
        int t = type[i], m = n_sf[t];
        const Sf *f = sf + t * MAXS;
        double g[MAXS] = {0}, dg[MAXS];
        int split[3] = {0};
        int nn = 0;
        for (int e = 0; e < 2; e++) {
            for (int j = 0; j < n; j++) {
                if (type[j] != e) continue;
                double d[3], alt[3]; int two[3];
                for (int c = 0; c < 3; c++) {
                    double v = x[3 * j + c] - x[3 * i + c];
                    v -= cell * round(v / cell);
                    d[c] = v; alt[c] = v > 0 ? v - cell : v + cell; two[c] = fabs(alt[c]) < rc;
                }
                for (int a = 0; a <= two[0]; a++) for (int b = 0; b <= two[1]; b++) for (int c = 0; c <= two[2]; c++) {
                    if (j == i && !a && !b && !c) continue;
                    double vx = a ? alt[0] : d[0], vy = b ? alt[1] : d[1], vz = c ? alt[2] : d[2];
                    double q = vx * vx + vy * vy + vz * vz;
                    if (q >= rc * rc) continue;
                    nx[nn] = vx; ny[nn] = vy; nz[nn] = vz; na[nn] = q; nr[nn] = sqrt(q); ni[nn] = j;
                    nn++;
                }
            }
            split[e + 1] = nn;
        }
        for (int j = 0; j < nn; j++) {
            double u = tanh(1 - nr[j] / rc);
            nf[j] = u * u * u;
            nh[j] = -3 / rc * (1 - u * u) / u / (2 * nr[j]);   /* d ln f / d r^2 */
            gr[j] = gx[j] = gy[j] = gz[j] = 0;
        }
        /* radial */
        for (int s = 0; s < m; s++) if (f[s].kind == 2)
            for (int j = split[f[s].e1]; j < split[f[s].e1 + 1]; j++) {
                double v = nr[j] - f[s].rs;
                g[s] += exp(-f[s].eta * v * v) * nf[j];
            }
        /* triplets: groups 0-0, 0-1, 1-1 */
        int nt = 0, group = 0;
        double etas[3][4]; int n_eta[3];
        for (int e = 0; e < 2; e++) for (int h = e; h < 2; h++, group++) {
            tstart[group] = nt;
            n_eta[group] = 0;
            for (int s = 0; s < m; s++) if (f[s].kind == 3 && f[s].e1 == e && f[s].e2 == h) {
                int q = 0;
                while (q < n_eta[group] && etas[group][q] != f[s].eta) q++;
                if (q == n_eta[group]) etas[group][n_eta[group]++] = f[s].eta;
            }
            if (!n_eta[group]) continue;
            for (int j = split[e]; j < split[e + 1]; j++)
                for (int k = h == e ? j + 1 : split[h]; k < split[h + 1]; k++) {
                    double ax = nx[j] - nx[k], ay = ny[j] - ny[k], az = nz[j] - nz[k];
                    double c = ax * ax + ay * ay + az * az;
                    tj[nt] = j; tk[nt] = k; tc[nt] = c;
                    nt += c < rc * rc;
                }
            #pragma omp simd
            for (int p = tstart[group]; p < nt; p++) {
                int j = tj[p], k = tk[p];
                double a = na[j], b = na[k], c = tc[p], r3 = sqrt(c);
                double q = exp(2 * (1 - r3 / rc)), u = (q - 1) / (q + 1);
                tir[p] = 0.5 / (nr[j] * nr[k]);
                tcos[p] = (a + b - c) * tir[p];
                tf[p] = u * u * u * nf[j] * nf[k];
                th[p] = -3 / rc * (1 - u * u) / u / (2 * r3);
                ts[p] = a + b + c;
                s0[p] = s1[p] = s2[p] = 0;
            }
            for (int q = 0; q < n_eta[group]; q++) {
                double eta = etas[group][q];
                #pragma omp simd
                for (int p = tstart[group]; p < nt; p++) te[q][p] = exp(-eta * ts[p]) * tf[p];
            }
            for (int s = 0; s < m; s++) if (f[s].kind == 3 && f[s].e1 == e && f[s].e2 == h) {
                int q = 0; while (etas[group][q] != f[s].eta) q++;
                double sum = 0, lambda = f[s].lambda;
                if (f[s].zeta == 1)
                    for (int p = tstart[group]; p < nt; p++) sum += te[q][p] * (1 + lambda * tcos[p]);
                else
                    for (int p = tstart[group]; p < nt; p++) {
                        double v = 1 + lambda * tcos[p]; v *= v;
                        sum += te[q][p] * v * v;
                    }
                g[s] = sum * f[s].pref;
            }
        }
        tstart[3] = nt;
        /* network: two hidden layers of tanh, one linear output */
        const double *w = weights + t * MAXW * MAXW * 2;
        const double *w1 = w, *b1 = w1 + m * hidden, *w2 = b1 + hidden, *b2 = w2 + hidden * hidden, *w3 = b2 + hidden;
        double y1[MAXW], y2[MAXW], d1[MAXW], d2[MAXW], out = w3[hidden];
        for (int h = 0; h < hidden; h++) {
            double v = b1[h];
            for (int s = 0; s < m; s++) v += (g[s] - mean[t * MAXS + s]) * scale[t * MAXS + s] * w1[s * hidden + h];
            y1[h] = tanh(v);
        }
        for (int h = 0; h < hidden; h++) {
            double v = b2[h];
            for (int q = 0; q < hidden; q++) v += y1[q] * w2[q * hidden + h];
            y2[h] = tanh(v); out += y2[h] * w3[h]; d2[h] = w3[h] * (1 - y2[h] * y2[h]);
        }
        for (int h = 0; h < hidden; h++) {
            double v = 0;
            for (int q = 0; q < hidden; q++) v += w2[h * hidden + q] * d2[q];
            d1[h] = v * (1 - y1[h] * y1[h]);
        }
        for (int s = 0; s < m; s++) {
            double v = 0;
            for (int h = 0; h < hidden; h++) v += w1[s * hidden + h] * d1[h];
            dg[s] = v * scale[t * MAXS + s];
        }
        total += out;
        /* gradient */
        for (int s = 0; s < m; s++) if (f[s].kind == 2)
            for (int j = split[f[s].e1]; j < split[f[s].e1 + 1]; j++) {
                double v = nr[j] - f[s].rs;
                gr[j] += dg[s] * exp(-f[s].eta * v * v) * nf[j] * (nh[j] - f[s].eta * v / nr[j]);
            }
        group = 0;
        for (int e = 0; e < 2; e++) for (int h = e; h < 2; h++, group++) {
            for (int s = 0; s < m; s++) if (f[s].kind == 3 && f[s].e1 == e && f[s].e2 == h) {
                int q = 0; while (etas[group][q] != f[s].eta) q++;
                double lambda = f[s].lambda, eta = f[s].eta, c0 = dg[s] * f[s].pref;
                if (f[s].zeta == 1)
                    for (int p = tstart[group]; p < tstart[group + 1]; p++) {
                        double v = c0 * te[q][p], z = v * (1 + lambda * tcos[p]);
                        s0[p] += z; s1[p] += eta * z; s2[p] += lambda * v;
                    }
                else
                    for (int p = tstart[group]; p < tstart[group + 1]; p++) {
                        double b = 1 + lambda * tcos[p], v = c0 * te[q][p] * b * b * b, z = v * b;
                        s0[p] += z; s1[p] += eta * z; s2[p] += 4 * lambda * v;
                    }
            }
        }
        for (int p = 0; p < nt; p++) {
            int j = tj[p], k = tk[p];
            double u = s2[p] * tir[p], v = 0.5 * s2[p] * tcos[p];
            gr[j] += s0[p] * nh[j] - s1[p] + u - v / na[j];
            gr[k] += s0[p] * nh[k] - s1[p] + u - v / na[k];
            double gc = s0[p] * th[p] - s1[p] - u;
            double ax = gc * (nx[j] - nx[k]), ay = gc * (ny[j] - ny[k]), az = gc * (nz[j] - nz[k]);
            gx[j] += ax; gy[j] += ay; gz[j] += az;
            gx[k] -= ax; gy[k] -= ay; gz[k] -= az;
        }
        for (int j = 0; j < nn; j++) {
            double ax = 2 * (gx[j] + gr[j] * nx[j]), ay = 2 * (gy[j] + gr[j] * ny[j]), az = 2 * (gz[j] + gr[j] * nz[j]);
            int q = 3 * ni[j];
            force[q] -= ax; force[q + 1] -= ay; force[q + 2] -= az;
            force[3 * i] += ax; force[3 * i + 1] += ay; force[3 * i + 2] += az;
        }
    }
    return total;
}
