r"""Likelihoods p(x|z): modules whose call turns latents into a Pyro distribution of one datum.

=======================================  =================================================  ===========
data x                                   likelihood                                         p(x|z) is a
=======================================  =================================================  ===========
0 or 1                                   :class:`BernoulliLikelihood`                       mass
integers 0..255 in order, e.g. pixels    :class:`DiscretizedLogisticLikelihood`             mass
codes 0..V-1 without order, e.g. words   :class:`CategoricalLikelihood`                     mass
counts 0, 1, 2, ...                      :class:`PoissonLikelihood`                         mass
counts that vary more than a Poisson     :class:`NegativeBinomialLikelihood`                mass
real numbers                             :class:`GaussianLikelihood`                        density
real numbers with outliers               :class:`StudentTLikelihood`                        density
=======================================  =================================================  ===========
"""
