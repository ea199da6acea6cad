"""Likelihoods p(x|z): modules whose call turns latents into a Pyro distribution of one datum.

data x                                  likelihood                                       p(x|z) is a
======================================  ===============================================  ===========
0 or 1                                  :class:`pyro_lvm.BernoulliLikelihood`            mass
integers 0..255 in order, e.g. pixels   :class:`pyro_lvm.DiscretizedLogisticLikelihood`  mass
codes 0..V-1 without order, e.g. words  :class:`pyro_lvm.CategoricalLikelihood`          mass
counts 0, 1, 2, ...                     :class:`pyro_lvm.PoissonLikelihood`              mass
counts that vary more than a Poisson    :class:`pyro_lvm.NegativeBinomialLikelihood`     mass
real numbers                            :class:`pyro_lvm.GaussianLikelihood`             density
real numbers with outliers              :class:`pyro_lvm.StudentTLikelihood`             density
columns of several kinds, with gaps     :class:`pyro_lvm.MixedLikelihood`                mixed
======================================  ===============================================  ===========
=======
======================================  ==========================================================  ===========
data x                                  likelihood                                                  p(x|z) is a
======================================  ==========================================================  ===========
0 or 1                                  :class:`pyro_lvm.BernoulliLikelihood`                       mass
integers 0..255 in order, e.g. pixels   :class:`pyro_lvm.DiscretizedLogisticLikelihood`             mass
codes 0..V-1 without order, e.g. words  :class:`pyro_lvm.CategoricalLikelihood`                     mass
counts 0, 1, 2, ...                     :class:`pyro_lvm.PoissonLikelihood`                         mass
counts that vary more than a Poisson    :class:`pyro_lvm.NegativeBinomialLikelihood`                mass
such counts with more zeros             :class:`pyro_lvm.ZeroInflatedNegativeBinomialLikelihood`    mass
counts whose total also varies          :class:`pyro_lvm.MultinomialLikelihood`                     mass
real numbers                            :class:`pyro_lvm.GaussianLikelihood`                        density
real numbers with outliers              :class:`pyro_lvm.StudentTLikelihood`                        density
columns of several kinds, with gaps     :class:`pyro_lvm.MixedLikelihood`                           mixed
======================================  ==========================================================  ===========
"""
